//! What a refusal says. Must not know: who is told.

use serde_json::{Value, json};

/// The fixed set of error codes. Clients show a code they do not know as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    ProtocolVersionMismatch,
    UnknownOp,
    MalformedRequest,
    ValidationFailed,
    StateConflict,
    KernelError,
    LockdownActive,
    InternalError,
    PermissionDenied,
    LimitExceeded,
    NotSupported,
}

impl Code {
    const ALL: [Code; 11] = [
        Code::ProtocolVersionMismatch,
        Code::UnknownOp,
        Code::MalformedRequest,
        Code::ValidationFailed,
        Code::StateConflict,
        Code::KernelError,
        Code::LockdownActive,
        Code::InternalError,
        Code::PermissionDenied,
        Code::LimitExceeded,
        Code::NotSupported,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Code::ProtocolVersionMismatch => "protocol_version_mismatch",
            Code::UnknownOp => "unknown_op",
            Code::MalformedRequest => "malformed_request",
            Code::ValidationFailed => "validation_failed",
            Code::StateConflict => "state_conflict",
            Code::KernelError => "kernel_error",
            Code::LockdownActive => "lockdown_active",
            Code::InternalError => "internal_error",
            Code::PermissionDenied => "permission_denied",
            Code::LimitExceeded => "limit_exceeded",
            Code::NotSupported => "not_supported",
        }
    }
}

/// A refusal, as it goes into a reply. `message` says what failed and why, for a human.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpError {
    pub code: Code,
    pub message: String,
    /// The argument at fault, with `validation_failed`.
    pub field: Option<String>,
    /// The same request may succeed when sent again: a moment later (`limit_exceeded`), or on a
    /// new connection (every other code).
    pub retry: bool,
    /// What was asked for is another user's: the asker may have a different one.
    pub of_another: bool,
}

impl OpError {
    pub fn new(code: Code, message: impl Into<String>) -> OpError {
        OpError { code, message: message.into(), field: None, retry: false, of_another: false }
    }

    pub fn of_another(message: impl Into<String>) -> OpError {
        OpError { of_another: true, ..OpError::conflict(message) }
    }

    pub fn conflict(message: impl Into<String>) -> OpError {
        OpError::new(Code::StateConflict, message)
    }

    pub fn kernel(message: impl Into<String>) -> OpError {
        OpError::new(Code::KernelError, message)
    }

    pub fn field(field: &str, message: impl Into<String>) -> OpError {
        let field = Some(field.to_string());
        OpError { field, ..OpError::new(Code::ValidationFailed, message) }
    }
}

impl OpError {
    /// What `to_json` has made, as far as it is that.
    pub fn from_json(value: &Value) -> OpError {
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let is = |key: &str| value.get(key).and_then(Value::as_bool).unwrap_or_default();
        let code = text("code").and_then(|n| Code::ALL.into_iter().find(|c| c.as_str() == n));
        OpError {
            field: text("field"),
            retry: is("retry"),
            of_another: is("of_another"),
            ..OpError::new(code.unwrap_or(Code::InternalError), text("message").unwrap_or_default())
        }
    }

    pub fn to_json(&self) -> Value {
        let mut value = json!({"code": self.code.as_str(), "message": self.message});
        if let Some(field) = &self.field {
            value["field"] = json!(field);
        }
        if self.retry {
            value["retry"] = json!(true);
        }
        if self.of_another {
            value["of_another"] = json!(true);
        }
        value
    }
}
