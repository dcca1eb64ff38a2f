//! All contracts together. What holds of each: a conditional write is one write, so that of N racing callers, on any number
//! of nodes, one wins; and a change is committed with the audit events that it takes, or not at all.

use super::{
    AuditLog, Candidates, Ceremonies, Clients, FactorLife, Factors, Grants, Keys, Leases, Logins, Membership,
    OtpValidation, RecoveryCodes, Revocations, SecretsAtRest, Sessions, Stock, Throttles, Users,
};

/// Names the contracts once, for the trait and for what implements it.
macro_rules! all_of {
    ($($contract:ident),+ $(,)?) => {
        /// All of the store.
        pub trait Store: $($contract +)+ 'static {}

        impl<T: $($contract +)+ 'static> Store for T {}
    };
}

all_of!(
    Membership,
    Users,
    Factors,
    Candidates,
    Sessions,
    Ceremonies,
    FactorLife,
    RecoveryCodes,
    Stock,
    OtpValidation,
    Clients,
    Grants,
    Keys,
    Leases,
    Logins,
    SecretsAtRest,
    Throttles,
    Revocations,
    AuditLog,
);
