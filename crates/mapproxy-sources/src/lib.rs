//! mapproxy-sources
