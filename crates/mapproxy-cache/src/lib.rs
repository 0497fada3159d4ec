//! mapproxy-cache
