//! Everything that runs the real binary or looks at the repository as a whole: one binary, so it links once.

mod tidy;
