import Testing

@testable import Admin
@testable import Gateway

@Suite("When a gateway is ready for devices")
struct ObservationTests {
    @Test("Bound, with stores that answer and a bootstrap server that is up, it is ready")
    func ready() throws {
        // That the server of registrations is down keeps nobody from a bootstrap.
        let observation = try Samples.observation()
        #expect(observation.gateway?.upstreams.contains { $0.isRelay && !$0.isUp } == true)
        #expect(observation.obstacles.isEmpty)
    }

    @Test("Before the listeners are bound it is not ready")
    func unbound() throws {
        let observation = try Samples.observation { $0.gateway = nil }
        #expect(observation.obstacles == ["the listeners are not bound"])
    }

    @Test("A server of registrations that is up is no bootstrap server")
    func noBootstrapServer() throws {
        let relay = try Samples.upstream("coap://10.1.0.20:5683", isRelay: true)
        let down = try Samples.upstream("coap://10.1.0.10:5683", isUp: false)
        let observation = try Samples.observation { $0.gateway?.upstreams = [down, relay] }
        #expect(observation.obstacles == ["no bootstrap server is reachable"])
    }

    @Test("One of several bootstrap servers is enough")
    func oneOfSeveral() throws {
        let down = try Samples.upstream("coap://10.1.0.10:5683", isUp: false)
        let up = try Samples.upstream("coap://10.1.0.11:5683")
        #expect(try Samples.observation { $0.gateway?.upstreams = [down, up] }.obstacles.isEmpty)
    }

    @Test("All obstacles are named at once")
    func all() throws {
        let observation = try Samples.observation {
            $0.gateway?.isDraining = true
            $0.gateway?.upstreams = []
            $0.storesAnswer = false
        }
        #expect(
            observation.obstacles == [
                "the gateway is stopping", "no bootstrap server is reachable", "the stores do not answer",
            ])
        let status = GatewayStatus(observation)
        #expect(!status.isReady)
        #expect(status.obstacles == observation.obstacles)
    }

    @Test("The status is the same after its way as JSON, and has what the gateway counted")
    func status() throws {
        let status = GatewayStatus(try Samples.observation())
        #expect(try GatewayStatus(json: Array(status.json().utf8)) == status)
        #expect(status.isReady)
        #expect(status.listeners == ["coaps://127.0.0.1:5684"])
        #expect(status.bootstrapsFinished == 1)
        #expect(status.bootstrapsFailed == [FailureCause.unauthorized.rawValue: 1])
        #expect(status.sessions == 6)
        #expect(status.halfOpen == 7)
        #expect(status.registrations == 4)
        #expect(status.upstreams.map(\.leg) == ["bootstrap", "registration"])
        #expect(status.upstreams.map(\.isUp) == [true, false])
        #expect(status.auditWritten == 9)
    }
}
