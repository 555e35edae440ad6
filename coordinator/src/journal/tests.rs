//! Frozen samples: what any released version wrote is read for ever. Add lines, never change one.
#![allow(clippy::unwrap_used)]

use super::*;

const VERSION_1: &str = r#"
{"at":1,"type":"submitted","spec":{"name":"n","sql":"select 1","parameters":{"p":1},"settings":{},"labels":{},"priority":0,"queue":"","idempotency_key":"k","scope_key":null,"lease_seconds":null,"timeout_seconds":60,"owner":null,"client":"rest","base_url":null,"source":null},"try_number":1,"continues":null}
{"at":2,"type":"prepared","statements":1}
{"at":3,"type":"planned","statement":0,"kind":"query","stages":[{"stage":0,"name":"scan","inputs":[],"tasks":2,"output_partitions":1,"output":"shuffle"},{"stage":1,"name":"result","inputs":[[0,"all"]],"tasks":1,"output_partitions":1,"output":"result"}]}
{"at":4,"type":"reserved","target":{"shuffle":{"job":"01890000-0000-7000-8000-000000000001","exchange":0,"run":0},"locations":[{"partition":0,"epoch":0,"worker":{"worker":"w1","incarnation":7,"control":"h:1","data":"h:2"}}]}}
{"at":5,"type":"dispatched","attempts":[{"stage":0,"task":1,"attempt":0,"executor":"e1","incarnation":9}]}
{"at":6,"type":"won","stage":0,"task":1,"attempt":0,"output":{"shuffle":{"partitions":[[0,{"rows":1,"bytes":2,"batches":1,"checksum":18446744073709551615}]]}}}
{"at":7,"type":"won","stage":1,"task":0,"attempt":2,"output":{"inline":{"rows":1}}}
{"at":8,"type":"committed","shuffle":{"job":"01890000-0000-7000-8000-000000000001","exchange":0,"run":0},"winners":[{"map":1,"attempt":0}],"partitions":[{"partition":0,"locations":[],"totals":{"rows":0,"bytes":0,"batches":0,"checksum":0}}]}
{"at":9,"type":"publishing","statement":0,"files":[{"staged_path":"s","final_path":"f","rows":1,"bytes":2}]}
{"at":10,"type":"published","statement":0,"outputs":{"target":"t","files":1,"rows":1,"bytes":2}}
{"at":11,"type":"statement_finished","statement":0,"rows":1}
{"at":12,"type":"cancel_requested","reason":"the user said so"}
{"at":13,"type":"finished","state":"FAILED","failure":{"class":"USER_DATA","message":"m","advice":null,"lost_shuffle":null,"stage":1,"task":0}}
{"at":14,"type":"run_again","stage":0,"run":1,"reason":"worker w1: connection refused"}
{"at":15,"type":"planned","statement":0,"kind":"query","stages":[{"stage":0,"name":"scan","inputs":[],"tasks":2,"output_partitions":1,"output":"shuffle","deterministic":true}]}
"#;

#[test]
fn records_of_version_1_are_read_and_written_back_as_they_were() {
    for line in VERSION_1.lines().filter(|line| !line.is_empty()) {
        let record: Record = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
        assert_eq!(serde_json::to_string(&record).unwrap(), line);
    }
}
