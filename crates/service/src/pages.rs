//! Lists that the store returns page by page.

use crate::ChangeError;
use signet_store::StoreError;

/// The most of a page.
const PAGE: u32 = 1000;

/// All of a list: `next` returns a page, of what comes after the last of the page before it.
/// Errors: what the store says.
pub(crate) async fn all_pages<T>(
    next: impl AsyncFn(Option<&T>, u32) -> Result<Vec<T>, StoreError>,
) -> Result<Vec<T>, ChangeError> {
    let mut all = Vec::new();
    loop {
        let page = next(all.last(), PAGE).await?;
        let is_last = page.len() < PAGE as usize;
        all.extend(page);
        if is_last {
            return Ok(all);
        }
    }
}
