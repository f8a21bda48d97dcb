use std::{error::Error, fmt};

use aws_sdk_dynamodb::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};

/// An AWS service did not carry out a request. The variants say what the caller can do.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Throttled, even after retries: try again later.
    #[error("throttled: {0}")]
    Throttled(Cause),
    /// The service could not be reached, did not respond or failed, even after retries: try again later. The request
    /// may or may not have been carried out.
    #[error("unavailable: {0}")]
    Unavailable(Cause),
    /// The same request will fail again: a permission is missing, or a name is wrong.
    #[error("refused: {0}")]
    Refused(Cause),
}

/// Operation, error code and message. The errors of the SDK also hold requests and responses, which may contain
/// transcripts, numbers and keys. This type does not, and may be logged.
#[derive(Debug)]
pub struct Cause(String);

impl Cause {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ServiceError {
    pub(crate) fn of<E>(operation: &str, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: Error + ProvideErrorMetadata + 'static,
    {
        let cause = Cause(format!("{operation}: {}", describe(error)));
        match error {
            SdkError::ServiceError(answer) if answer.err().code().is_some_and(is_throttling) => {
                Self::Throttled(cause)
            }
            SdkError::ServiceError(answer) if !answer.raw().status().is_server_error() => {
                Self::Refused(cause)
            }
            SdkError::ConstructionFailure(_) => Self::Refused(cause),
            _ => Self::Unavailable(cause),
        }
    }
}

/// Whether a service uses this error code to throttle.
pub(crate) fn is_throttling(code: &str) -> bool {
    const OTHERS: [&str; 7] = [
        "BandwidthLimitExceeded",
        "LimitExceededException",
        "ProvisionedThroughputExceeded",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "SlowDown",
        "TooManyRequestsException",
    ];
    code.contains("Throttl") || OTHERS.contains(&code)
}

fn describe<E>(error: &SdkError<E, HttpResponse>) -> String
where
    E: Error + ProvideErrorMetadata + 'static,
{
    if let SdkError::ServiceError(answer) = error {
        let meta = answer.err().meta();
        let status = answer.raw().status().as_u16();
        return format!("{} ({status}): {}", meta.code().unwrap_or("error"), meta.message().unwrap_or(""));
    }
    let mut text = error.to_string();
    let mut beneath = error.source();
    while let Some(error) = beneath {
        text.push_str(": ");
        text.push_str(&error.to_string());
        beneath = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttling_is_recognised_by_its_error_code() {
        for code in [
            "ThrottlingException",
            "ThrottlingError",
            "RequestThrottled",
            "SlowDown",
            "ProvisionedThroughputExceeded",
        ] {
            assert!(is_throttling(code), "{code}");
        }
        for code in ["AccessDeniedException", "ConditionalCheckFailed", "InternalServerError"] {
            assert!(!is_throttling(code), "{code}");
        }
    }
}
