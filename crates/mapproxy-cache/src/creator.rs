//! Creates missing tiles: lock, ask the sources, cut, encode, store.
