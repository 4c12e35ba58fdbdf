//! Bytes → first line and header fields, the same for requests and answers.

/// Header fields of one head.
const FIELDS: usize = 64;

/// Why a head is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    TooManyFields,
    /// With the reason, in words of ours.
    Bad(&'static str),
    /// A field that may occur once occurs twice.
    Twice,
}

/// Header fields. Names are in lower case.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// The value of a field that may occur once.
    pub fn only(&self, name: &str) -> Result<Option<&str>, HeadError> {
        let mut found = self.0.iter().filter(|(known, _)| known == name);
        let first = found.next().map(|(_, value)| value.as_str());
        found.next().map_or(Ok(first), |_| Err(HeadError::Twice))
    }

    /// Bytes of the body that follows; `None` when no length is given.
    pub fn content_length(&self) -> Result<Option<usize>, HeadError> {
        let Some(value) = self.only("content-length")? else { return Ok(None) };
        if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(HeadError::Bad("Content-Length is not a number"));
        }
        Ok(Some(value.parse().unwrap_or(usize::MAX)))
    }
}

/// Where a head ends: the bytes of it, and of the empty line after it.
pub fn end(bytes: &[u8]) -> Option<(usize, usize)> {
    let pattern = b"\r\n\r\n";
    let at = bytes.windows(pattern.len()).position(|window| window == pattern)?;
    Some((at, at + pattern.len()))
}

/// First line and fields of a head without the empty line at its end.
pub fn parse(bytes: &[u8]) -> Result<(&str, Headers), HeadError> {
    let text = std::str::from_utf8(bytes).map_err(|_| HeadError::Bad("the head is not UTF-8"))?;
    let control = |byte: u8| byte < 0x20 && byte != b'\t' || byte == 0x7f;
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    if first.bytes().any(control) {
        return Err(HeadError::Bad("control characters in the first line"));
    }
    let mut fields = Vec::new();
    for line in lines {
        if fields.len() == FIELDS {
            return Err(HeadError::TooManyFields);
        }
        if line.bytes().any(control) {
            return Err(HeadError::Bad("control characters in a header field"));
        }
        fields.push(field(line)?);
    }
    Ok((first, Headers(fields)))
}

fn field(line: &str) -> Result<(String, String), HeadError> {
    let (name, value) =
        line.split_once(':').ok_or(HeadError::Bad("a header field has no colon"))?;
    // This also refuses folded lines and space before the colon (request smuggling).
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(HeadError::Bad("the name of a header field is not valid"));
    }
    Ok((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
}

/// RFC 9110 §5.6.2.
pub fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
