// ThingsBoard (with platform integrations): the decoder of an uplink data converter, language JavaScript, for an MQTT integration
// on the topics guet/v1/+/summary, guet/v1/+/alert and guet/v1/+/status at QoS 1, clean session off.
// Tried in part: this function was run on real records (tests/central/test_platforms.py); ThingsBoard itself was not at hand.
//
// site.toml: [upstream] ack = "broker". A device of a gateway becomes GATEWAY/DEVICE.

var text = decodeURIComponent(escape(String.fromCharCode.apply(String, payload)));
var record = JSON.parse(text);
var at = Date.parse(record.time);
var result;
if (record.kind === 'summary') {
  var values = {};
  for (var point in record.points) {
    var row = record.points[point]; // used, not used, mean, min, max, last
    if (row[2] !== null) {
      values[point] = row[2];
      values[point + '_min'] = row[3];
      values[point + '_max'] = row[4];
    }
  }
  result = {
    deviceName: record.gateway + '/' + record.device,
    deviceType: 'guet-device',
    telemetry: { ts: at + 1000 * record.period_s, values: values },
  };
} else if (record.kind === 'alert') {
  result = {
    deviceName: record.gateway + '/' + record.alert.subject,
    deviceType: 'guet-device',
    telemetry: {
      ts: at,
      values: {
        alert: record.alert.cleared === null ? record.alert.kind : 'none',
        severity: record.alert.severity,
        score: record.alert.score,
        reasons: record.alert.reasons.map(function (reason) { return reason.text; }).join(' '),
      },
    },
  };
} else {
  result = {
    deviceName: record.gateway,
    deviceType: 'guet-gateway',
    attributes: { version: record.version, devices: record.devices, backlog: record.backlog },
    telemetry: { ts: at, values: { seq: record.seq } },
  };
}
return result;
