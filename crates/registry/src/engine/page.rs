//! Lists that are read page by page.

use super::{Registry, RegistryError, Statement, query, tx::Readable};

/// Which part of a list. Callers check the bounds of the interface; here 0 counts as 1.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// From 1.
    pub page: u32,
    /// Most items on it.
    pub page_size: u32,
}

impl Page {
    pub(crate) fn limit(self) -> i64 {
        i64::from(self.page_size.max(1))
    }

    pub(crate) fn offset(self) -> i64 {
        i64::from(self.page.max(1) - 1).saturating_mul(self.limit())
    }
}

impl Registry {
    /// The rows of one page by `list`, whose parameters are limit and offset, and how many rows there are by `total`;
    /// both of one moment.
    pub(crate) async fn page_of<R: Readable>(
        &self,
        list: &'static str,
        total: &'static str,
        page: Page,
    ) -> Result<(Vec<R>, i64), RegistryError> {
        self.read(async |tx| {
            let rows = tx.all(query(list).bind(page.limit()).bind(page.offset())).await?;
            let (total,) = tx.one(total).await?;
            Ok((rows, total))
        })
        .await
    }

    /// The same of a list that is narrowed: `list` ends with its order, to which limit and offset are added.
    pub(crate) async fn page_of_some<R: Readable>(
        &self,
        mut list: Statement,
        total: Statement,
        page: Page,
    ) -> Result<(Vec<R>, i64), RegistryError> {
        list.push(" LIMIT ").bind(page.limit()).push(" OFFSET ").bind(page.offset());
        self.read(async |tx| {
            let rows = tx.all(list).await?;
            let (total,) = tx.one(total).await?;
            Ok((rows, total))
        })
        .await
    }
}
