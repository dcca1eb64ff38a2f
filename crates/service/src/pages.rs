//! Lists that the store returns page by page.

use crate::ChangeError;
use signet_store::StoreError;

/// The most of a page.
const PAGE: u32 = 1000;

/// All of a list: `next` returns a page, of what comes after the one that the cursor names.
/// Errors: what the store says.
pub(crate) async fn all_pages<T, C, P>(
    cursor: impl Fn(&T) -> C,
    next: impl Fn(Option<C>, u32) -> P,
) -> Result<Vec<T>, ChangeError>
where
    P: Future<Output = Result<Vec<T>, StoreError>>,
{
    let mut all = Vec::new();
    loop {
        let page = next(all.last().map(&cursor), PAGE).await?;
        let is_last = page.len() < PAGE as usize;
        all.extend(page);
        if is_last {
            return Ok(all);
        }
    }
}
