//! All contracts together. What holds of each: a conditional write is one write, so that of N racing callers, on any number
//! of nodes, one wins; and a change is committed with the audit events that it takes, or not at all.
//!
//! Changes that bear on one another are ordered, whichever node asks: what ends a right (a user disabled, a password changed, a
//! client removed, a family ended) and what rests on it (a grant, a rotation, a session, a factor that is used) never run at the
//! same time. So whatever begins after the end was acknowledged finds it.

use super::{
    AuditLog, Candidates, Ceremonies, Clients, Envelopes, FactorLife, Factors, Grants, IdempotencyKeys, Joins, Keys,
    Leases, Logins, Membership, Nodes, OtpValidation, RecoveryCodes, Renewals, Revocations, RoleRequests, Rules,
    SecretsAtRest, Sessions, SettingStatements, Stock, Tries, Users,
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
    Nodes,
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
    Renewals,
    Envelopes,
    Joins,
    Tries,
    Revocations,
    RoleRequests,
    Rules,
    IdempotencyKeys,
    SettingStatements,
    AuditLog,
);
