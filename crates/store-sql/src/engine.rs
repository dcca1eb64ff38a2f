//! What the statements run on: an SQL engine, behind ports of our own. An adapter says how it connects, how a transaction
//! that writes begins and ends, and what its failures mean; what is written, and under which condition, is said once, here.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::authority::{self, Held, RowMacs};
use signet_core::audit::NodeId;
use signet_core::keys::{HsmName, TenantId};
use signet_core::secret::SecretHash;
use signet_jose::KeyId;
use signet_jose::clock::Timestamp;
use signet_store::{ClientId, FactorId, GrantId, SessionId, StockId, StoreFailure, UserId};

/// The result of a step inside the store.
pub type Result<T, E = StoreFailure> = std::result::Result<T, E>;

/// Which words of SQL an engine takes, where they differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite's.
    Sqlite,
    /// PostgreSQL's.
    Postgres,
}

/// A statement's text, which is prepared once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Text {
    /// One for every engine. `FOR UPDATE` and `FOR SHARE` at its end are PostgreSQL's alone: on SQLite a transaction that
    /// writes is alone anyhow.
    Every(&'static str),
    /// One that was put together, for every engine.
    Made(Arc<str>),
    /// One for each engine.
    Each {
        /// SQLite's.
        sqlite: Arc<str>,
        /// PostgreSQL's.
        postgres: Arc<str>,
    },
}

impl Text {
    /// A text that was put together; a lock of rows at its end is PostgreSQL's alone.
    pub(crate) fn made(text: String) -> Self {
        match LOCKS.iter().find_map(|lock| text.strip_suffix(lock)) {
            Some(unlocked) => Self::Each { sqlite: unlocked.into(), postgres: text.into() },
            None => Self::Made(text.into()),
        }
    }

    /// A text in which `{now}` is the database server's clock, in milliseconds, or on SQLite, which has no server, this
    /// parameter.
    pub(crate) fn by_clock(text: &str, parameter: &str) -> Self {
        let server = format!("COALESCE(CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT), {parameter})");
        Self::Each { sqlite: text.replace("{now}", parameter).into(), postgres: text.replace("{now}", &server).into() }
    }

    /// A text whose `{unlocked}`, at the end of a selection, passes over rows that another transaction has locked. On SQLite
    /// there are none.
    pub(crate) fn passing_over(text: &str) -> Self {
        let replaced = |by: &str| text.replace("{unlocked}", by).into();
        Self::Each { sqlite: replaced(""), postgres: replaced("FOR UPDATE SKIP LOCKED") }
    }
}

/// A text in one engine's words, which costs nothing to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Words {
    /// One that the program holds.
    Static(&'static str),
    /// One that was put together.
    Shared(Arc<str>),
}

impl Words {
    /// The text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Static(text) => text,
            Self::Shared(text) => text,
        }
    }
}

/// How a statement that locks rows ends.
const LOCKS: [&str; 3] = [" FOR UPDATE", " FOR NO KEY UPDATE", " FOR SHARE"];

impl Text {
    /// The text for one engine.
    pub fn of(&self, dialect: Dialect) -> Words {
        match (self, dialect) {
            (Self::Every(text), Dialect::Postgres) => Words::Static(text),
            (Self::Every(text), Dialect::Sqlite) => {
                Words::Static(LOCKS.iter().find_map(|lock| text.strip_suffix(lock)).unwrap_or(text))
            }
            (Self::Made(text), _)
            | (Self::Each { sqlite: text, .. }, Dialect::Sqlite)
            | (Self::Each { postgres: text, .. }, Dialect::Postgres) => Words::Shared(Arc::clone(text)),
        }
    }
}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Self {
        Self::Every(text)
    }
}

/// What stands in a column, or is bound to a parameter. A null that is bound has its column's type, since PostgreSQL asks
/// for it; one that is read is `None` of whatever type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A number, also where it says yes (1) or no (0).
    Number(Option<i64>),
    /// A text.
    Text(Option<String>),
    /// Bytes.
    Bytes(Option<Vec<u8>>),
}

/// What is bound to a parameter.
pub(crate) trait ToValue {
    /// Its absence.
    const NULL: Value;

    fn to_value(&self) -> Value;
}

impl<T: ToValue + ?Sized> ToValue for &T {
    const NULL: Value = T::NULL;

    fn to_value(&self) -> Value {
        (**self).to_value()
    }
}

impl<T: ToValue> ToValue for Option<T> {
    const NULL: Value = T::NULL;

    fn to_value(&self) -> Value {
        self.as_ref().map_or(T::NULL, ToValue::to_value)
    }
}

impl<const N: usize> ToValue for [u8; N] {
    const NULL: Value = Value::Bytes(None);

    fn to_value(&self) -> Value {
        self.as_slice().to_value()
    }
}

macro_rules! bound_as {
    ($($kind:ident: $($of:ty = $value:ident => $into:expr),+;)+) => {
        $($(
            impl ToValue for $of {
                const NULL: Value = Value::$kind(None);

                fn to_value(&self) -> Value {
                    let $value = self;
                    Value::$kind(Some($into))
                }
            }
        )+)+
    };
}

bound_as! {
    Number: i64 = value => *value, i32 = value => i64::from(*value), u32 = value => i64::from(*value),
        bool = value => i64::from(*value), Timestamp = at => at.unix_millis();
    Text: str = value => value.to_owned(), String = value => value.clone(),
        TenantId = id => id.as_str().to_owned(), UserId = id => id.as_str().to_owned(),
        FactorId = id => id.as_str().to_owned(), GrantId = id => id.as_str().to_owned(),
        ClientId = id => id.as_str().to_owned(), SessionId = id => id.as_str().to_owned(),
        StockId = id => id.as_str().to_owned(), HsmName = name => name.as_str().to_owned(),
        KeyId = id => id.as_str().to_owned(), NodeId = id => id.as_str().to_owned();
    Bytes: [u8] = bytes => bytes.to_vec(), Vec<u8> = bytes => bytes.clone(),
        SecretHash = hash => hash.as_bytes().to_vec();
}

/// A row that was read.
#[derive(Debug, Clone)]
pub struct Row {
    names: Arc<[String]>,
    values: Vec<Value>,
}

impl Row {
    /// A row of these columns. The names are those of the statement, once for all of its rows.
    pub fn new(names: Arc<[String]>, values: Vec<Value>) -> Self {
        Self { names, values }
    }

    /// What stands in so many columns, from this one on.
    pub(crate) fn values_from(&self, first: &str, count: usize) -> Option<&[Value]> {
        let place = self.names.iter().position(|name| name == first)?;
        self.values.get(place..place.checked_add(count)?)
    }

    /// What stands in its columns, in their order.
    pub(crate) fn into_values(self) -> Vec<Value> {
        self.values
    }

    /// What stands in a column, by its name or its place.
    /// Errors: [`StoreFailure::Corrupt`] where there is no such column, or something else stands in it.
    pub fn try_get<'r, T: FromValue<'r>, C: Column>(&'r self, column: C) -> Result<T> {
        let value = column.place(&self.names).and_then(|place| self.values.get(place));
        value.and_then(T::from_value).ok_or(StoreFailure::Corrupt("row"))
    }
}

/// How a column is named.
pub trait Column {
    /// Its place among the statement's columns.
    fn place(&self, names: &[String]) -> Option<usize>;
}

impl Column for &str {
    fn place(&self, names: &[String]) -> Option<usize> {
        names.iter().position(|name| name == self)
    }
}

impl Column for usize {
    fn place(&self, _: &[String]) -> Option<usize> {
        Some(*self)
    }
}

/// What a column is read as.
pub trait FromValue<'r>: Sized {
    /// The value, where it is of this type.
    fn from_value(value: &'r Value) -> Option<Self>;
}

macro_rules! read_as {
    ($($kind:ident: $($of:ty = $value:ident => $read:expr),+;)+) => {
        $($(
            impl<'r> FromValue<'r> for $of {
                fn from_value(value: &'r Value) -> Option<Self> {
                    match value {
                        Value::$kind(Some($value)) => Some($read),
                        _ => None,
                    }
                }
            }
        )+)+
    };
}

impl<'r, T: FromValue<'r>> FromValue<'r> for Option<T> {
    fn from_value(value: &'r Value) -> Option<Self> {
        match value {
            Value::Number(None) | Value::Text(None) | Value::Bytes(None) => Some(None),
            found => T::from_value(found).map(Some),
        }
    }
}

read_as! {
    Number: i64 = value => *value, bool = value => *value != 0, Timestamp = at => Timestamp::from_unix_millis(*at);
    Text: &'r str = value => value.as_str(), String = value => value.clone(),
        TenantId = id => TenantId::new(id.clone()), UserId = id => UserId::new(id.clone()),
        FactorId = id => FactorId::new(id.clone()), GrantId = id => GrantId::new(id.clone()),
        ClientId = id => ClientId::new(id.clone()), SessionId = id => SessionId::new(id.clone()),
        StockId = id => StockId::new(id.clone()), HsmName = name => HsmName::new(name.clone()),
        KeyId = id => KeyId::new(id.clone()), NodeId = id => NodeId::new(id.clone());
    Bytes: &'r [u8] = value => value.as_slice(), Vec<u8> = value => value.clone();
}

/// A connection in the middle of a transaction.
#[async_trait]
pub trait Statements: Send {
    /// Runs a statement and reads its rows.
    /// Errors: why it did not run; the transaction is of no use then.
    async fn rows(&mut self, text: &Text, values: Vec<Value>) -> Result<Vec<Row>>;
    /// Runs a statement; how many rows it changed.
    /// Errors: as for [`rows`](Self::rows).
    async fn change(&mut self, text: &Text, values: Vec<Value>) -> Result<u64>;
    /// What rows of authority tables are written and checked by here, where that is known.
    #[doc(hidden)]
    fn row_macs(&self) -> Option<Arc<RowMacs>> {
        None
    }
    /// From now on rows are written by this generation of the deployment's secret here.
    #[doc(hidden)]
    fn write_by(&mut self, _generation: u8) {}
}

/// A connection in the middle of a transaction, of whatever engine.
pub type Connection = dyn Statements;

/// A name that a transaction locks until its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lock {
    /// The name, as every node spells it.
    pub name: i64,
    /// Whether nobody else may hold it meanwhile.
    pub alone: bool,
}

/// The connection that writes, one transaction after another.
#[async_trait]
pub trait WriteConnection: Statements {
    /// Begins a transaction by this statement, which finds one row or none and locks it.
    /// Errors: why it did not begin.
    async fn begin(&mut self, first: &Text, values: Vec<Value>) -> Result<Option<Row>>;
    /// Locks names for this transaction, without waiting; gives those that others hold. Each name is there once.
    /// Errors: why they could not be locked.
    async fn lock(&mut self, locks: &[Lock]) -> Result<Vec<i64>>;
    /// Locks names for this transaction, in their order, and waits so long for whoever holds one. It holds no other name yet.
    /// Errors: [`StoreFailure::Busy`] where somebody still does.
    async fn wait_for(&mut self, locks: &[Lock], patience: Duration) -> Result<()>;
    /// Runs a text that is a whole transaction, and makes it last; the rows that it gives.
    /// Errors: whether it took place is unknown.
    async fn alone(&mut self, text: &Text, values: Vec<Value>) -> Result<Vec<Row>>;
    /// Makes the transaction last.
    /// Errors: whether it took place is unknown.
    async fn commit(&mut self) -> Result<()>;
    /// Takes the transaction back.
    /// Errors: the connection is of no use any more.
    async fn rollback(&mut self) -> Result<()>;
    /// This, as what statements run on.
    fn statements(&mut self) -> &mut Connection;
    /// Closes it.
    async fn close(self: Box<Self>);
}

/// A connection in a transaction that reads alone, and reads what was committed when it began, however long it lasts and
/// whatever is written meanwhile.
#[async_trait]
pub trait Snapshot: Statements {
    /// This, as what statements run on.
    fn statements(&mut self) -> &mut Connection;
    /// Ends it.
    async fn end(self: Box<Self>);
}

/// An SQL engine with Signet's schema in it.
#[async_trait]
pub trait Engine: fmt::Debug + Send + Sync + 'static {
    /// Connects, to write.
    /// Errors: why not, with what to do.
    async fn connect(&self) -> Result<Box<dyn WriteConnection>>;
    /// Reads what is committed, beside the writer.
    /// Errors: why not.
    async fn read(&self, text: &Text, values: Vec<Value>) -> Result<Vec<Row>>;
    /// Begins a transaction that reads what is committed now, on a connection of its own.
    /// Errors: why not.
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>>;
    /// What a failure of the machine that the database is on would cost beyond an outage, with what to do about it; `None`
    /// where it would cost nothing more than that of this machine.
    /// Errors: why it can't be told.
    async fn weakness(&self) -> Result<Option<String>>;
    /// Closes the connections that read.
    async fn close(&self);
}

/// How many rows a statement changed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Changed(u64);

impl Changed {
    pub(crate) const fn rows_affected(self) -> u64 {
        self.0
    }
}

/// A statement with what is bound to its parameters, in their order.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    pub(crate) text: Text,
    pub(crate) values: Vec<Value>,
    /// The rows of authority tables that it gives.
    pub(crate) held: Option<Arc<[Held]>>,
    /// Whether one that does not verify is left out. Otherwise it fails the whole.
    pub(crate) leaves_out: bool,
}

/// A statement that nothing is bound to yet.
pub(crate) fn query(text: impl Into<Text>) -> Query {
    Query { text: text.into(), values: Vec::new(), held: None, leaves_out: false }
}

impl Query {
    pub(crate) fn bind(mut self, value: impl ToValue) -> Self {
        self.values.push(value.to_value());
        self
    }

    pub(crate) async fn execute(self, connection: &mut Connection) -> Result<Changed> {
        connection.change(&self.text, self.values).await.map(Changed)
    }

    pub(crate) async fn fetch_all(self, connection: &mut Connection) -> Result<Vec<Row>> {
        let rows = connection.rows(&self.text, self.values).await?;
        match (self.held, connection.row_macs()) {
            (Some(held), Some(macs)) => authority::checked(&held, self.leaves_out, rows, &macs),
            _ => Ok(rows),
        }
    }

    pub(crate) async fn fetch_optional(self, connection: &mut Connection) -> Result<Option<Row>> {
        Ok(self.fetch_all(connection).await?.into_iter().next())
    }

    pub(crate) async fn fetch_one(self, connection: &mut Connection) -> Result<Row> {
        self.fetch_optional(connection).await?.ok_or(StoreFailure::Corrupt("row"))
    }
}
