internal import Testing

@Suite("The demonstration")
struct DemoTests {
    @Test("bootgate demo ends well only with a device registered over DTLS, and shows the accounts before and after")
    func demo() async throws {
        try await Stage.run { stage in
            let text = try await stage.run("bootgate demo", Programs.gateway, ["demo"], within: .seconds(60))
                .joined(separator: "\n")
            #expect(text.contains("registered at /rd/1"))
            #expect(text.contains("written   coap://"))
            #expect(text.contains("received  coaps://"))
            #expect(text.contains("registration.opened"))
        }
    }
}
