//! OTP semantics over ractor.
