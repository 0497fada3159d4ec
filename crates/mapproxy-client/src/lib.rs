//! mapproxy-client
