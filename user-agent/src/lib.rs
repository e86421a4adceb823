//! A simulated phone and gateway for demo, lab, load and tests.
