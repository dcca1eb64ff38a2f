//! The suite of the HSM adapter over modules of different makes. What a make can't do stands in its
//! [`Abilities`](crate::support::modules::Abilities) and in docs/guides/hsm-guide.md, and is tested to be said.

mod custody;
mod deployment;
mod faults;
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

/// Tests for Kryoptic, which is not there before it is built.
macro_rules! tests_of_kryoptic {
    ($($test:ident),+) => {
        mod kryoptic {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "Kryoptic takes minutes to build: make test-modules"]
            async fn $test() {
                super::$test(crate::support::modules::Make::Kryoptic).await;
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
        super::tests_of_kryoptic!($($test),+);
    };
}

/// A test for NSS, whose keys don't.
macro_rules! for_nss {
    ($($test:ident),+ $(,)?) => {
        super::tests_of!(nss, Nss: $($test),+);
    };
}

use {for_each_make, for_nss, tests_of, tests_of_kryoptic};
