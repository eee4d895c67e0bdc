//! Bodies and queries of requests, refused as [`Problem`]s where they are not what is expected.

use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use stoker_model::strict;

use crate::api::caller::Caller;
use crate::problem::{Problem, chain, codes};

/// A JSON body.
pub(super) struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match axum::Json::<T>::from_request(request, state).await {
            Ok(axum::Json(body)) => Ok(Self(body)),
            Err(error) => {
                let said = match &error {
                    JsonRejection::JsonDataError(inner) => chain(inner),
                    other => chain(other),
                };
                Err(Problem::new(codes::USAGE, "cannot read the request: its body is not what is expected")
                    .evidence(strict::explain(&said))
                    .fix("see the OpenAPI document at /v1/openapi.json"))
            }
        }
    }
}

/// A query string.
pub(super) struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(error) => Err(Problem::new(codes::USAGE, "cannot read the request's query")
                .evidence(strict::explain(&chain(&error)))
                .fix("see the OpenAPI document at /v1/openapi.json")),
        }
    }
}

/// Parts of the path.
pub(super) struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(path)) => Ok(Self(path)),
            Err(error) => Err(Problem::new(
                codes::INVALID_VALUE,
                format!("cannot read the path `{}`: {}", parts.uri.path(), chain(&error)),
            )),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| Problem::new(codes::NOT_ALLOWED, "cannot answer: the caller is not known"))
    }
}
