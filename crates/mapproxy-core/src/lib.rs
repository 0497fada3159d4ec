//! mapproxy-core
