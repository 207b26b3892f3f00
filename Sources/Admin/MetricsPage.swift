internal import DTLS
internal import Gateway
internal import LwM2M
internal import Records
internal import Timing

/// The page that monitoring reads: one place that says what each metric is called and what it means.
enum MetricsPage {
    static func text(of observation: Observation) -> String {
        var page = MetricsText()
        page.family("build_info", .gauge, "Version of the gateway and of its DTLS library.")
        page.sample("build_info", [("version", observation.version), ("wolfssl", observation.wolfSSL)], 1)
        page.family("uptime_seconds", .gauge, "Time since the process began to serve.")
        page.sample("uptime_seconds", [], observation.uptime)
        page.single(
            "ready", .gauge, "1 when devices can be served, as /readyz says.", observation.obstacles.isEmpty ? 1 : 0)
        page.family("reloads_total", .counter, "Times that the configuration was read again, by what became of it.")
        page.sample("reloads_total", [("outcome", "applied")], observation.reloads.applied)
        page.sample("reloads_total", [("outcome", "refused")], observation.reloads.refused)
        if let gateway = observation.gateway {
            Self.bootstraps(gateway.counters, &page)
            Self.handshakes(gateway, &page)
            Self.sessions(gateway, &page)
            Self.datagrams(gateway, &page)
            Self.upstreams(gateway, &page)
            Self.load(gateway, &page)
        }
        Self.stores(observation, &page)
        return page.text
    }

    private static func bootstraps(_ counters: GatewayCounters, _ page: inout MetricsText) {
        let name = "bootstraps_total"
        page.family(name, .counter, "Bootstraps that came to an end, by result, cause and the way the device came.")
        let arrivals: [(String, KeyPath<GatewayCounters.ByArrival, Int>)] = [("dtls", \.dtls), ("plain", \.plain)]
        for (security, count) in arrivals {
            let finished = counters.bootstrapsFinished[keyPath: count]
            page.sample(name, [("result", "finished"), ("cause", ""), ("security", security)], finished)
        }
        for (cause, failed) in counters.bootstrapsFailed.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
            for (security, count) in arrivals where failed[keyPath: count] > 0 {
                let labels = [("result", "failed"), ("cause", cause.label), ("security", security)]
                page.sample(name, labels, failed[keyPath: count])
            }
        }
        page.family(
            "would_refuse_total", .counter, "Let through in log-and-audit mode although enforce would refuse, by cause."
        )
        for (cause, count) in counters.wouldRefuse.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
            page.sample("would_refuse_total", [("cause", cause.label)], count)
        }
        page.single(
            "bootstrap_requests_total", .counter, "Bootstrap-Requests of devices.", counters.bootstrapsRequested)
        Self.histogram(
            "bootstrap_seconds", "From the device's request to its answer to Finish.", counters.bootstrapTimes, &page)
    }

    private static func handshakes(_ gateway: GatewayStatistics, _ page: inout MetricsText) {
        let name = "handshakes_total"
        page.family(name, .counter, "DTLS handshakes of devices, by result and cipher suite.")
        for (suite, count) in gateway.counters.handshakeSuites.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
            page.sample(name, [("result", "completed"), ("cause", ""), ("suite", suite.name)], count)
        }
        for (cause, count) in gateway.counters.handshakesFailed.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
            page.sample(name, [("result", "failed"), ("cause", cause.label), ("suite", "")], count)
        }
        Self.histogram(
            "handshake_seconds", "From the hello with a valid cookie to the device's proof.",
            gateway.counters.handshakeTimes, &page)
        page.single(
            "hello_verifications_total", .counter, "First hellos that were answered with a cookie.",
            gateway.counters.helloVerifications)
        page.single("half_open", .gauge, "Handshakes that have not proved themselves.", gateway.halfOpen)
    }

    private static func sessions(_ gateway: GatewayStatistics, _ page: inout MetricsText) {
        page.family("sessions", .gauge, "Sessions of devices, by what they are there for.")
        page.sample("sessions", [("state", "bootstrapping")], gateway.sessions.bootstrapping)
        page.sample("sessions", [("state", "registered")], gateway.sessions.registered)
        page.sample("sessions", [("state", "idle")], gateway.sessions.idle)
        page.single("registrations", .gauge, "Registrations, with a session or without.", gateway.registrations)
        let counters = gateway.counters
        page.single("sessions_opened_total", .counter, "Sessions that began.", counters.sessionsOpened)
        page.single("sessions_closed_total", .counter, "Sessions that ended.", counters.sessionsClosed)
        page.single(
            "sessions_moved_total", .counter, "Times that a session was found at another address by its connection ID.",
            counters.sessionsMoved)
        page.single("registrations_opened_total", .counter, "Registrations that began.", counters.registrationsOpened)
        page.single("registrations_closed_total", .counter, "Registrations that ended.", counters.registrationsClosed)
        page.family("registrations_refused_total", .counter, "Registrations that were refused, by cause.")
        for (cause, count) in counters.registrationsRefused.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
            page.sample("registrations_refused_total", [("cause", cause.label)], count)
        }
    }

    private static func datagrams(_ gateway: GatewayStatistics, _ page: inout MetricsText) {
        let name = "datagrams_total"
        page.family(name, .counter, "Datagrams, by leg and direction.")
        let (devices, pool) = (gateway.counters, gateway.pool)
        page.sample(name, [("leg", "device"), ("direction", "in")], devices.datagramsFromDevices)
        page.sample(name, [("leg", "device"), ("direction", "out")], devices.datagramsToDevices)
        page.sample(name, [("leg", "upstream"), ("direction", "in")], pool.datagramsIn)
        page.sample(name, [("leg", "upstream"), ("direction", "out")], pool.datagramsOut)
        page.family("coap_retransmits_total", .counter, "Messages that went out again for want of an ACK, by leg.")
        page.sample("coap_retransmits_total", [("leg", "device")], devices.retransmissions)
        page.sample("coap_retransmits_total", [("leg", "upstream")], pool.retransmissions)
        page.family("dropped_total", .counter, "Datagrams and messages that were not processed, by reason.")
        var dropped: [String: UInt64] = devices.dropped.mapValues { UInt64($0) }
        for counters in gateway.sockets.map(\.counters) + [gateway.formerSockets] {
            for reason in IngressFilter.DropReason.allCases {
                dropped[reason.name, default: 0] &+= counters.dropped(reason)
            }
            dropped["not_sent", default: 0] &+= counters.notSent
        }
        dropped["receive_buffer_full", default: 0] &+= gateway.load.lostInKernel
        dropped["upstream_oversize", default: 0] &+= pool.oversize
        dropped["upstream_unsent", default: 0] &+= pool.unsent
        for (reason, count) in dropped.sorted(by: { $0.key < $1.key }) {
            page.sample("dropped_total", [("reason", reason)], count)
        }
        page.family("listener_rebinds_total", .counter, "Times that a listening socket had to be bound again.")
        for socket in gateway.sockets {
            page.sample("listener_rebinds_total", [("listener", socket.listener.description)], socket.counters.rebound)
        }
    }

    private static func load(_ gateway: GatewayStatistics, _ page: inout MetricsText) {
        let load = gateway.load
        page.single(
            "overload_level", .gauge,
            "0 normal, 1 no cookies for new peers, 2 also no plain bootstraps, 3 also no log lines of single devices.",
            load.level.rawValue)
        page.family("loop_lag_seconds", .gauge, "How late the event loop came to its last timer.")
        page.sample("loop_lag_seconds", [], Double(load.lag.wholeNanoseconds) / 1e9)
        page.family(
            "receive_buffer_ratio", .gauge, "How full the kernel's buffer of the fullest listener is; 1 is full.")
        page.sample("receive_buffer_ratio", [], load.receiveFill)
        page.single("resident_memory_bytes", .gauge, "Memory of the process.", load.residentMemory)
        page.single(
            "back_offs_total", .counter, "Times that an identity had to wait at one source for wrong keys.",
            gateway.counters.backOffs)
    }

    private static func upstreams(_ gateway: GatewayStatistics, _ page: inout MetricsText) {
        page.family("upstream_up", .gauge, "1 when the server answers, as far as is known.")
        for upstream in gateway.upstreams { page.sample("upstream_up", Self.labels(upstream), upstream.isUp ? 1 : 0) }
        page.family(
            "upstream_steady", .gauge,
            "1 when it has been up for long enough to be preferred to those behind it in the list.")
        for upstream in gateway.upstreams {
            page.sample("upstream_steady", Self.labels(upstream), upstream.isUp && upstream.isSteady ? 1 : 0)
        }
        page.family("pool_leases", .gauge, "Upstream sockets by state; `waiting`: devices without a socket yet.")
        for upstream in gateway.upstreams {
            let states: [(String, Int)] = [
                ("opening", upstream.opening), ("idle", upstream.idle), ("securing", upstream.securing),
                ("leased", upstream.leased), ("settling", upstream.settling), ("resting", upstream.resting),
                ("quarantined", upstream.quarantined), ("waiting", upstream.waiting),
            ]
            for (state, count) in states {
                page.sample("pool_leases", Self.labels(upstream) + [("state", state)], count)
            }
        }
        let pool = gateway.pool
        Self.histogram(
            "pool_wait_seconds",
            "From a device's need of a socket to a server until it has one, a DTLS handshake included.", pool.waits,
            &page)
        page.single("pool_leases_granted_total", .counter, "Leases that were given.", pool.leasesGranted)
        page.single("pool_leases_refused_total", .counter, "Devices that got no lease.", pool.leasesRefused)
        page.single("pool_leases_broken_total", .counter, "Leases whose socket was lost.", pool.leasesBroken)
        page.family("upstream_handshakes_total", .counter, "DTLS handshakes with servers, by result.")
        page.sample("upstream_handshakes_total", [("result", "completed")], pool.handshakesCompleted)
        page.sample("upstream_handshakes_total", [("result", "failed")], pool.handshakesFailed)
    }

    private static func labels(_ upstream: UpstreamPool.Statistics) -> [MetricsText.Label] {
        [("upstream", upstream.upstream.uri.description), ("leg", upstream.isRelay ? "registration" : "bootstrap")]
    }

    private static func stores(_ observation: Observation, _ page: inout MetricsText) {
        if let credentials = observation.credentials {
            page.family("credentials", .gauge, "One-time credentials by state, counted once a minute.")
            for state in OneTimeCredential.State.allCases {
                page.sample("credentials", [("state", state.rawValue)], credentials[state] ?? 0)
            }
        }
        page.single("stores_answer", .gauge, "1 when the stores answered just now.", observation.storesAnswer ? 1 : 0)
        page.single(
            "stores_take_changes", .gauge, "1 unless the last change of the stores did not reach the disk.",
            observation.storesTakeChanges ? 1 : 0)
        let journal = observation.journal
        page.single("audit_records_total", .counter, "Records written to the journal.", journal.written)
        page.single("audit_records_lost_total", .counter, "Records that found no room.", journal.lost)
        page.family(
            "audit_lag_seconds", .gauge,
            "Age of the oldest record that is not flushed to the disk; up to audit.checkpoint.every is normal.")
        page.sample("audit_lag_seconds", [], Double(journal.lag.wholeNanoseconds) / 1e9)
        page.single("audit_waiting", .gauge, "Records that wait for the disk.", journal.waiting)
        page.single(
            "audit_failing", .gauge, "1 while the disk takes no records.", journal.failure == nil ? 0 : 1)
    }

    private static func histogram(
        _ name: String, _ help: String, _ values: LatencyHistogram, _ page: inout MetricsText
    ) {
        page.histogram(
            name, help, bounds: LatencyHistogram.bounds, counts: values.counts, sum: Double(values.sum) / 1e9)
    }
}
