//! The contract, for each way of freezing that the machine has.

use bellwether_drivers::{linux::cgroup::Use, testing};

use crate::bench::ProcessBench;

macro_rules! contract {
    ($($promise:ident),+ $(,)?) => {
        $(
            mod $promise {
                use super::*;

                #[tokio::test]
                async fn with_any_control_group() {
                    let mut bench = ProcessBench::new(Use::Auto);
                    testing::$promise(&mut bench).await;
                    bench.close().await;
                }

                #[tokio::test]
                async fn with_version_1() {
                    let mut bench = ProcessBench::new(Use::V1);
                    testing::$promise(&mut bench).await;
                    bench.close().await;
                }

                #[tokio::test]
                async fn without_control_groups() {
                    let mut bench = ProcessBench::new(Use::None);
                    testing::$promise(&mut bench).await;
                    bench.close().await;
                }
            }
        )+
    };
}

contract!(
    apply_twice_is_once,
    older_generations_are_refused,
    what_does_not_run_is_unknown,
    commands_keep_their_order,
    an_exit_is_told_once,
    the_deaf_are_killed_after_their_grace,
    instances_outlive_the_driver,
    frozen_means_no_cpu,
    usage_is_of_one_moment,
);
