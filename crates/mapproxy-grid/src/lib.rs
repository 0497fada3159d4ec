//! mapproxy-grid
