//! mapproxy-config
