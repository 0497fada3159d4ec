//! Levels above or below as a source for missing tiles (`upscale_tiles`, `downscale_tiles`).
