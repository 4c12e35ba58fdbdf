use super::*;

fn read(spec: Value) -> Result<Spec, OpError> {
    Spec::read(&Args(spec.as_object().unwrap()))
}

fn with(changes: Value) -> Result<Spec, OpError> {
    let mut spec = json!({"port": 8448, "protocol": "tcp", "source": "any", "app_name": "matrix"});
    for (key, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => spec.as_object_mut().unwrap().remove(key),
            value => spec.as_object_mut().unwrap().insert(key.clone(), value.clone()),
        };
    }
    read(spec)
}

fn range(first: u64, last: u64) -> Value {
    json!({"port": null, "port_range": [first, last]})
}

/// V10, and the spellings of one meaning (C23).
#[test]
fn what_is_not_a_rule_is_refused_by_the_name_of_its_field() {
    let bad = [
        ("port", json!({"port": 0})),
        ("port", json!({"port": 65_536})),
        ("port", json!({"port": true})),
        ("port", json!({"port": "22"})),
        ("port", json!({"port": 22.0})),
        ("port", json!({"port": null})),
        ("port_range", json!({"port_range": [1, 2]})),
        ("port_range", range(1, 16_385)),
        ("port_range", range(9, 8)),
        ("port_range", range(0, 8)),
        ("port_range", range(65_000, 65_536)),
        ("port_range", json!({"port": null, "port_range": [1, 2, 3]})),
        ("port_range", json!({"port": null, "port_range": [1]})),
        ("port_range", json!({"port": null, "port_range": "1-2"})),
        ("port_range", json!({"port": null, "port_range": [1, "2"]})),
        ("protocol", json!({"protocol": "TCP"})),
        ("protocol", json!({"protocol": "sctp"})),
        ("protocol", json!({"protocol": "tcp "})),
        ("protocol", json!({"protocol": null})),
        ("source", json!({"source": null})),
        ("source", json!({"source": "::/0"})),
        ("source", json!({"source": "::ffff:10.0.0.1"})),
        ("source", json!({"source": "10.0.0.1/8"})),
        ("source", json!({"source": "10.0.0.0/33"})),
        ("source", json!({"source": "10.0.0.0/08"})),
        ("source", json!({"source": "10.0.0.0/+8"})),
        ("source", json!({"source": "10.0.0.0/"})),
        ("source", json!({"source": "10.0.0/24"})),
        ("source", json!({"source": "010.0.0.0/24"})),
        ("source", json!({"source": "10.0.0.0/255.0.0.0"})),
        ("source", json!({"source": "Any"})),
        ("source", json!({"source": "any; drop"})),
        ("app_name", json!({"app_name": "abc\n"})),
        ("app_name", json!({"app_name": ""})),
        ("app_name", json!({"app_name": "-a"})),
        ("app_name", json!({"app_name": "1a"})),
        ("app_name", json!({"app_name": "aB"})),
        ("app_name", json!({"app_name": "a".repeat(64)})),
        ("app_name", json!({"app_name": "a\" drop"})),
        ("description", json!({"description": "\u{1b}[2J"})),
        ("description", json!({"description": "a\u{9b}b"})),
        ("description", json!({"description": "é".repeat(201)})),
        ("description", json!({"description": 7})),
    ];
    for (field, changes) in bad {
        let refused = with(changes.clone()).expect_err(&changes.to_string());
        assert_eq!(refused.field.as_deref(), Some(field), "{changes}");
    }
}

#[test]
fn what_is_read_is_written_and_read_as_the_same() {
    let good = [
        json!({}),
        json!({"protocol": "udp", "description": "é".repeat(200)}),
        json!({"app_name": "a".repeat(63), "source": "0.0.0.0/0"}),
        json!({"source": "192.0.2.7"}),
        json!({"source": "192.0.2.7/32"}),
        json!({"source": "128.0.0.0/1"}),
        range(49_152, 65_535),
        range(1, 16_384),
        range(5, 5),
    ];
    for changes in good {
        let spec = with(changes.clone()).unwrap_or_else(|e| panic!("{changes}: {e:?}"));
        assert_eq!(read(spec.to_json()).unwrap(), spec, "{changes}");
    }
    // One meaning has one form.
    assert_eq!(with(range(5, 5)).unwrap().to_json()["port"], 5);
    let one = |text: &str| with(json!({"source": text})).unwrap();
    assert_eq!(one("192.0.2.7/32"), one("192.0.2.7"));
}

#[test]
fn a_line_holds_nothing_that_somebody_wrote() {
    let spec = with(json!({"description": "\"; flush ruleset #", "source": "10.0.0.0/8"})).unwrap();
    let line = "ip saddr 10.0.0.0/8 tcp dport 8448 accept comment \"rule-1\"";
    assert_eq!(spec.line("rule-1"), line);
    let wide = with(json!({"source": "0.0.0.0/0", "port": null, "port_range": [8, 9]})).unwrap();
    let line = "meta nfproto ipv4 tcp dport 8-9 accept comment \"r\"";
    assert_eq!(wide.line("r"), line);
}
