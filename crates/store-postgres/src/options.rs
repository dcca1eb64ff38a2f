//! How to reach the database: what the URL says, and what stands beside it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// How to open the store.
#[derive(Clone)]
pub struct PostgresOptions {
    /// One place for each host of the URL, in its order.
    pub(crate) hosts: Vec<PgConnectOptions>,
    /// Whether to make the schema where there is none, and to bring it up to date.
    pub create: bool,
    /// How many connections read at once; at least 1.
    pub readers: u32,
    /// How long one statement may take, and how long it waits for another one's lock.
    pub statement_timeout: Duration,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// The file to which checkpoints are appended too, outside of the database.
    pub anchor: Option<PathBuf>,
}

impl fmt::Debug for PostgresOptions {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<_> = self.hosts.iter().map(place_of).collect();
        f.debug_struct("PostgresOptions").field("hosts", &hosts).finish_non_exhaustive()
    }
}

/// A host as it is named in messages.
pub(crate) fn place_of(options: &PgConnectOptions) -> String {
    match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    }
}

/// A URL that names no database that can be reached so, with what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnusableUrl(String);

impl PostgresOptions {
    /// Reads `postgres://USER@HOST[:PORT][,HOST[:PORT]...]/DATABASE`. A certificate authority turns on TLS with
    /// verification of certificate and name; without one, TLS is what `?sslmode=` says, or taken where the server has it.
    /// Errors: what is wrong with the URL; never with a password in it.
    pub fn new(url: &str, password: Option<&str>, ca_file: Option<PathBuf>) -> Result<Self, UnusableUrl> {
        let refused = |text: &str| Err(UnusableUrl(text.to_owned()));
        let Some((scheme, rest)) = url.split_once("://") else { return refused("it has no `postgres://`") };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if path.is_empty() || path.starts_with('?') {
            return refused("it names no database: postgres://USER@HOST/DATABASE");
        }
        let (user, hosts) = authority.rsplit_once('@').map_or(("", authority), |(user, hosts)| (user, hosts));
        if user.contains(':') || path.contains("password=") {
            return refused(
                "it holds a password, which others can read: put it into a file, and name that in `password_file`",
            );
        }
        let user = if user.is_empty() { String::new() } else { format!("{user}@") };
        let of_host = |host: &str| -> Result<PgConnectOptions, UnusableUrl> {
            let one = format!("{scheme}://{user}{host}/{path}");
            let mut options: PgConnectOptions =
                one.parse().map_err(|error: sqlx::Error| UnusableUrl(error.to_string()))?;
            if let Some(password) = password {
                options = options.password(password);
            }
            Ok(match &ca_file {
                Some(file) => options.ssl_mode(PgSslMode::VerifyFull).ssl_root_cert(file),
                None => options,
            })
        };
        Ok(Self {
            hosts: hosts.split(',').map(of_host).collect::<Result<_, _>>()?,
            create: false,
            readers: 8,
            statement_timeout: Duration::from_secs(4),
            connect_timeout: Duration::from_secs(3),
            anchor: None,
        })
    }

    /// These, as another role.
    #[must_use]
    pub fn as_role(mut self, role: &str, password: Option<&str>) -> Self {
        let of = |host: PgConnectOptions| {
            let host = host.username(role);
            password.map_or(host.clone(), |password| host.password(password))
        };
        self.hosts = self.hosts.into_iter().map(of).collect();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str) -> String {
        PostgresOptions::new(url, None, None).unwrap_err().to_string()
    }

    #[test]
    fn a_url_may_name_several_hosts() {
        let options = PostgresOptions::new("postgres://signet@a,b:5433/tokens?sslmode=require", None, None).unwrap();
        let places: Vec<_> = options.hosts.iter().map(place_of).collect();
        assert_eq!(places, ["a:5432", "b:5433"]);
        assert!(options.hosts.iter().all(|host| host.get_database() == Some("tokens")));
    }

    #[test]
    fn a_host_may_be_an_ipv6_address_or_a_sockets_folder() {
        let places = |url: &str| {
            let options = PostgresOptions::new(url, None, None).unwrap();
            options.hosts.iter().map(place_of).collect::<Vec<_>>()
        };
        assert_eq!(places("postgres://signet@[::1]:5433/tokens"), ["[::1]:5433"]);
        assert_eq!(places("postgres:///tokens?host=/run/postgresql"), ["/run/postgresql"]);
    }

    #[test]
    fn a_password_has_no_place_in_a_url_and_none_in_a_message() {
        assert!(refusal("postgres://signet:hunter2@a/tokens").contains("password_file"));
        assert!(!refusal("postgres://signet:hunter2@a/tokens").contains("hunter2"));
        let options = PostgresOptions::new("postgres://signet@a/tokens", Some("hunter2"), None).unwrap();
        assert!(!format!("{options:?}").contains("hunter2"));
    }

    #[test]
    fn a_url_without_a_database_is_refused() {
        assert!(refusal("postgres://signet@a").contains("names no database"));
        assert!(refusal("postgres://signet@a/?sslmode=require").contains("names no database"));
    }
}
