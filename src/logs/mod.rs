//! Bytes of services.
