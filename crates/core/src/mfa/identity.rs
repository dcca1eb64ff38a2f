//! Who a user and a factor are.

crate::string_id! {
    /// A user's id: a UUIDv7, the `sub` of the user's tokens.
    pub struct UserId;

    /// A factor's id: a UUIDv7.
    pub struct FactorId;
}
