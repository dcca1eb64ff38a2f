//! Lists by pages, with filters.

use axum::http::StatusCode;

use super::Refused;
use signet_admin_api::{Page, PageQuery, ProblemKind};
use signet_service::ChangeError;

/// How many things a page has at most.
/// Errors: it is 0, or more than a page can have.
pub(super) fn limit(asked: Option<u16>) -> Result<u32, Refused> {
    let limit = asked.unwrap_or(PageQuery::USUAL);
    if (1..=PageQuery::MOST).contains(&limit) {
        Ok(u32::from(limit))
    } else {
        let detail = format!("limit must be 1 to {}", PageQuery::MOST);
        Err(Refused::new(ProblemKind::Invalid, StatusCode::BAD_REQUEST, detail))
    }
}

/// A page of those that `keep` keeps. `read` gives so many that come after a cursor, `cursor` names one.
/// Errors: what `read` says.
pub(super) async fn page<T, V, P>(
    after: Option<String>,
    limit: u32,
    read: impl Fn(Option<String>, u32) -> P,
    cursor: impl Fn(&T) -> String,
    keep: impl Fn(&T) -> bool,
    view: impl Fn(&T) -> V,
) -> Result<Page<V>, Refused>
where
    P: Future<Output = Result<Vec<T>, ChangeError>>,
{
    let (mut after, mut items) = (after, Vec::new());
    loop {
        // One more than is asked for tells whether there is a next page.
        let read = read(after.clone(), limit + 1).await?;
        let is_last = read.len() <= limit as usize;
        for thing in &read {
            if items.len() == limit as usize && keep(thing) {
                return Ok(Page { items, next: after });
            }
            after = Some(cursor(thing));
            if keep(thing) {
                items.push(view(thing));
            }
        }
        if is_last {
            return Ok(Page { items, next: None });
        }
    }
}
