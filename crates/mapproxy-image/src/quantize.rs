//! Palettes: exact where the picture has few colours, octree or median cut otherwise.
