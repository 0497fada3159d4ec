//! mapproxy-map
