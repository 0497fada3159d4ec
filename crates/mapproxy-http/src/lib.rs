//! mapproxy-http
