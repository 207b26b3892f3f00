import Testing

@testable import Admin
@testable import Gateway

@Suite("The page that monitoring reads")
struct MetricsPageTests {
    /// A page read as its format says, strictly: samples follow the lines of their family, and nothing comes twice.
    private struct Page {
        var samples: [String: String] = [:]
        var kinds: [String: String] = [:]

        init(_ text: String) throws {
            var helps: Set<String> = []
            var family = ""
            for line in text.split(separator: "\n", omittingEmptySubsequences: true).map(String.init) {
                if let match = line.wholeMatch(of: /# HELP ([a-z_]+) (\S.*)/) {
                    family = String(match.1)
                    #expect(helps.insert(family).inserted, "\(family) twice")
                    #expect(match.2.hasSuffix("."), "the help of \(family) is no sentence")
                } else if let match = line.wholeMatch(of: /# TYPE ([a-z_]+) (counter|gauge|histogram)/) {
                    #expect(String(match.1) == family)
                    self.kinds[family] = String(match.2)
                } else {
                    let match = try #require(
                        line.wholeMatch(of: /([a-z_]+)((?:\{[a-z]+="[^"]*"(?:,[a-z]+="[^"]*")*\})?) (\d+(?:\.\d+)?)/),
                        "\(line)")
                    let name = String(match.1)
                    let names =
                        self.kinds[family] == "histogram"
                        ? ["_bucket", "_sum", "_count"].map { family + $0 } : [family]
                    #expect(names.contains(name), "\(name) after \(family)")
                    let series = name + match.2
                    #expect(self.samples.updateValue(String(match.3), forKey: series) == nil, "\(series) twice")
                }
            }
        }
    }

    @Test("Every series stands once, under the help and type of its family")
    func format() throws {
        let page = try Page(MetricsPage.text(of: try Samples.observation()))
        #expect(page.samples.count > 60)
        for (name, kind) in page.kinds { #expect((kind == "counter") == name.hasSuffix("_total"), "\(name)") }
    }

    @Test(
        "What the gateway counted stands under the names that dashboards rely on",
        arguments: [
            (#"bootstraps_total{result="finished",cause="",security="dtls"}"#, "1"),
            (#"bootstraps_total{result="finished",cause="",security="plain"}"#, "0"),
            (#"bootstraps_total{result="failed",cause="unauthorized",security="plain"}"#, "1"),
            (#"bootstrap_seconds_bucket{le="1"}"#, "0"), (#"bootstrap_seconds_bucket{le="2.5"}"#, "1"),
            ("bootstrap_seconds_sum", "1.5"), ("bootstrap_seconds_count", "1"),
            (#"handshakes_total{result="completed",cause="",suite="TLS_PSK_WITH_AES_128_CCM_8"}"#, "1"),
            (#"handshakes_total{result="failed",cause="unauthorized",suite=""}"#, "1"),
            ("handshake_seconds_count", "1"), (#"sessions{state="registered"}"#, "2"), ("half_open", "7"),
            (#"datagrams_total{leg="device",direction="in"}"#, "20"),
            (#"datagrams_total{leg="upstream",direction="out"}"#, "11"),
            (#"dropped_total{reason="device_duplicate"}"#, "1"),
            (#"pool_leases{upstream="coap://10.1.0.10:5683",leg="bootstrap",state="leased"}"#, "2"),
            (#"pool_wait_seconds_bucket{le="0.005"}"#, "1"), ("pool_wait_seconds_count", "1"),
            (#"upstream_up{upstream="coap://10.1.0.10:5683",leg="bootstrap"}"#, "1"),
            (#"upstream_up{upstream="coap://10.1.0.20:5683",leg="registration"}"#, "0"),
            (#"coap_retransmits_total{leg="device"}"#, "4"), (#"coap_retransmits_total{leg="upstream"}"#, "5"),
            (#"credentials{state="active"}"#, "5"), (#"credentials{state="revoked"}"#, "0"),
            (#"would_refuse_total{cause="suspended"}"#, "6"), (#"reloads_total{outcome="applied"}"#, "0"),
            (#"reloads_total{outcome="refused"}"#, "8"), ("stores_take_changes", "1"),
            ("registrations", "4"), ("audit_records_total", "9"), ("audit_lag_seconds", "2.5"),
            (#"build_info{version="1.2.3",wolfssl="5.9.2"}"#, "1"), ("ready", "1"), ("uptime_seconds", "61.5"),
        ])
    func names(series: String, value: String) throws {
        let page = try Page(MetricsPage.text(of: try Samples.observation()))
        #expect(page.samples["bootgate_" + series] == value)
    }

    @Test("What sockets have counted that are no more is in the totals")
    func formerSockets() throws {
        let page = try Page(
            MetricsPage.text(
                of: try Samples.observation { observation in
                    observation.gateway?.sockets[0].counters.shed = 1
                    observation.gateway?.formerSockets.unbound = 2
                    observation.gateway?.formerSockets.dropped[IngressFilter.DropReason.oversize.rawValue] = 4
                }))
        #expect(page.samples[#"bootgate_dropped_total{reason="not_sent"}"#] == "3")
        #expect(page.samples[#"bootgate_dropped_total{reason="oversize"}"#] == "4")
    }

    @Test("A gateway that is not there, and stores that do not answer, leave a page that says so")
    func bare() throws {
        let page = try Page(
            MetricsPage.text(
                of: try Samples.observation {
                    $0.gateway = nil
                    $0.credentials = nil
                    $0.storesAnswer = false
                    $0.storesTakeChanges = false
                }))
        #expect(page.samples["bootgate_ready"] == "0")
        #expect(page.samples["bootgate_stores_answer"] == "0" && page.samples["bootgate_stores_take_changes"] == "0")
        #expect(page.samples["bootgate_audit_records_total"] == "9")
        #expect(!page.samples.keys.contains { $0.hasPrefix("bootgate_credentials") })
    }
}
