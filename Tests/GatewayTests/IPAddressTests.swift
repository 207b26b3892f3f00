import Gateway
import Testing

@Suite struct IPAddressTests {
    @Test(
        "An address is written as it was read",
        arguments: [
            "0.0.0.0", "255.255.255.255", "10.9.100.99", "192.0.2.1", "1.20.101.210", "127.0.0.1", "::1", "fe80::1",
            "2001:db8::ff00:42:8329",
        ])
    func asRead(text: String) throws {
        #expect("\(try #require(IPAddress(text)))" == text)
    }

    @Test("An IPv4 address in its mapped form is written as IPv4")
    func mapped() { #expect(IPAddress("::ffff:192.0.2.30")?.description == "192.0.2.30") }
}
