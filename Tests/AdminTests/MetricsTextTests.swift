import Testing

@testable import Admin

@Suite("Metrics as Prometheus reads them")
struct MetricsTextTests {
    @Test("A family has its help and type once, and a line for each sample")
    func family() {
        var text = MetricsText()
        text.family("dropped_total", .counter, "Dropped datagrams, by reason.")
        text.sample("dropped_total", [("reason", "empty")], 3)
        text.sample("dropped_total", [("reason", "oversize")], 0)
        #expect(
            text.text == """
                # HELP bootgate_dropped_total Dropped datagrams, by reason.
                # TYPE bootgate_dropped_total counter
                bootgate_dropped_total{reason="empty"} 3
                bootgate_dropped_total{reason="oversize"} 0

                """
        )
    }

    @Test("Quotation marks, backslashes and line feeds in labels are escaped")
    func escapes() {
        var text = MetricsText()
        text.sample("x", [("a", "say \"hi\"\\\n")], 1)
        #expect(text.text == "bootgate_x{a=\"say \\\"hi\\\"\\\\\\n\"} 1\n")
    }

    @Test("A histogram is cumulative and ends with +Inf, its sum and its count")
    func histogram() {
        var text = MetricsText()
        text.histogram("seconds", "Time.", bounds: [0.5, 1], counts: [2, 0, 3], sum: 7.25)
        #expect(
            text.text == """
                # HELP bootgate_seconds Time.
                # TYPE bootgate_seconds histogram
                bootgate_seconds_bucket{le="0.5"} 2
                bootgate_seconds_bucket{le="1"} 2
                bootgate_seconds_bucket{le="+Inf"} 5
                bootgate_seconds_sum 7.25
                bootgate_seconds_count 5

                """
        )
    }
}
