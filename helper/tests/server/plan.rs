//! Changes that somebody says yes to: what is made is what was shown, once.

use super::machine::Client;
use super::{OTHER_UID, UID, added, id_of, in_kernel, on_server, spec, user};
use serde_json::json;

#[test]
fn a_yes_is_to_what_was_shown_and_counts_once() {
    on_server("plan::a_yes_is_to_what_was_shown_and_counts_once", |m| {
        m.start();
        let (mut one, mut other) = (user(m, UID), user(m, OTHER_UID));
        let mut asked = spec(80);
        asked["source"] = json!("192.0.2.7/32");
        let plan = one.say("firewall.plan_add", asked)["result"].clone();
        assert_eq!(plan["change"]["add"]["source"], "192.0.2.7", "as it will be made: {plan}");
        assert_eq!(in_kernel(), Vec::<String>::new());
        let digest = json!({"digest": plan["digest"]});
        assert_eq!(other.say("firewall.apply", digest.clone())["error"]["code"], "state_conflict");
        let mut more = digest.clone();
        more["port"] = json!(22);
        assert_eq!(one.say("firewall.apply", more)["error"]["field"], "port", "nothing beside it");
        let id = id_of(&one.say("firewall.apply", digest.clone()));
        assert_eq!(in_kernel(), std::slice::from_ref(&id));
        assert_eq!(one.say("firewall.apply", digest)["error"]["code"], "state_conflict", "once");
        // A plan is checked as the change is.
        let bad = json!({"port": 0, "protocol": "tcp", "source": "any", "app_name": "a"});
        for op in ["firewall.plan_add", "firewall.add_rule"] {
            assert_eq!(one.say(op, bad.clone())["error"]["field"], "port", "{op}");
        }
        // What others do meanwhile makes it another question.
        let plan = one.say("firewall.plan_remove", json!({"rule_id": id}))["result"].clone();
        assert_eq!(plan["change"]["remove"]["port"], 80, "{plan}");
        let theirs = added(&mut Client::ready(m), 443);
        let digest = json!({"digest": plan["digest"]});
        let said = one.say("firewall.apply", digest);
        assert_eq!(said["error"]["code"], "state_conflict", "{said}");
        assert_eq!(in_kernel(), [id.clone(), theirs.clone()]);
        let plan = one.say("firewall.plan_remove", json!({"rule_id": id}))["result"].clone();
        assert_eq!(one.say("firewall.apply", json!({"digest": plan["digest"]}))["ok"], true);
        assert_eq!(in_kernel(), [theirs]);
        // It does not outlive the daemon that has shown it.
        let plan = one.say("firewall.plan_add", spec(81))["result"].clone();
        m.stop();
        m.start();
        let mut one = user(m, UID);
        let said = one.say("firewall.apply", json!({"digest": plan["digest"]}));
        assert_eq!(said["error"]["code"], "state_conflict");
        m.stop();
    });
}
