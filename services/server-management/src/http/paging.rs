//! Lists come in pages.

use chassis::Problem;
use fleet::Millis;
use registry::Page;
use serde::Serialize;
use utoipa::{
    IntoParams, ToSchema,
    openapi::path::{Parameter, ParameterIn},
};

use crate::http::{
    document::{parameter, whole},
    query::{FromParameters, Parameters},
};

const MAX_PAGE_SIZE: u32 = 500;
const DEFAULT_PAGE_SIZE: u32 = 50;

/// A page of whatever there is.
pub(crate) struct Paging(pub(crate) Page);

/// A page of what there is.
#[derive(Serialize, ToSchema)]
#[schema(as = Page)]
pub(crate) struct Listed<T> {
    items: Vec<T>,
    /// On all pages together.
    total: u64,
    /// From 1.
    page: u32,
    page_size: u32,
}

impl<T> Listed<T> {
    pub(crate) fn new(items: Vec<T>, total: u64, page: Page) -> Self {
        Self { items, total, page: page.page, page_size: page.page_size }
    }
}

impl FromParameters for Paging {
    fn take(parameters: &mut Parameters, _: Millis) -> Result<Self, Problem> {
        let page = parameters.number("page", u32::MAX)?.unwrap_or(1);
        let page_size = parameters.number("page_size", MAX_PAGE_SIZE)?.unwrap_or(DEFAULT_PAGE_SIZE);
        Ok(Self(Page { page, page_size }))
    }
}

impl IntoParams for Paging {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![
            parameter("page", "From 1", whole(u32::MAX, 1)),
            parameter("page_size", "How many on a page", whole(MAX_PAGE_SIZE, DEFAULT_PAGE_SIZE)),
        ]
    }
}
