//! The suite of the HSM adapter over modules of different makes. What a make can't do stands in its
//! [`Abilities`](crate::support::modules::Abilities) and in docs/hsm-guide.md, and is tested to be said.

mod custody;
mod faults;
mod figure;
mod sign;
mod vault;

/// A test for each make.
macro_rules! for_each_make {
    ($($test:ident),+ $(,)?) => {
        mod softhsm { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $test() { super::$test(crate::support::modules::Make::SoftHsm).await })+ }
        mod nss { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $test() { super::$test(crate::support::modules::Make::Nss).await })+ }
        mod tpm2 { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $test() { super::$test(crate::support::modules::Make::Tpm2).await })+ }
        mod p11_kit { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $test() { super::$test(crate::support::modules::Make::P11Kit).await })+ }
    };
}
use for_each_make;
