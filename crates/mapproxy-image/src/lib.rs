//! mapproxy-image
