//! (dialog)
