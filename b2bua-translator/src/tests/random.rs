//! Any order of what peers, clock and world may do: [`call_ops`] says what must hold.

use proptest::prelude::*;

use crate::testing::call_ops;

proptest! {
    // As many as a debug build plays in a few seconds; the fuzz target plays more.
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn each_call_leaves_one_record_and_nothing_else(data in proptest::collection::vec(any::<u8>(), 1..400)) {
        call_ops(&data);
    }
}
