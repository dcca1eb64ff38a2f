//! The suite of the HSM adapter over modules of different makes. What a make can't do stands in its
//! [`Abilities`](crate::support::modules::Abilities) and in docs/hsm-guide.md, and is tested to be said.

mod custody;
mod faults;
mod figure;
mod sign;
mod vault;

/// Tests for the makes that are named.
macro_rules! tests_of {
    ($name:ident, $make:ident: $($test:ident),+) => {
        mod $name {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(crate::support::modules::Make::$make).await;
            })+
        }
    };
}

/// A test for each make whose keys show their custody.
macro_rules! for_each_make {
    ($($test:ident),+ $(,)?) => {
        super::tests_of!(softhsm, SoftHsm: $($test),+);
        super::tests_of!(tpm2, Tpm2: $($test),+);
        super::tests_of!(p11_kit, P11Kit: $($test),+);
    };
}

/// A test for NSS, whose keys don't.
macro_rules! for_nss {
    ($($test:ident),+ $(,)?) => {
        super::tests_of!(nss, Nss: $($test),+);
    };
}

use {for_each_make, for_nss, tests_of};
