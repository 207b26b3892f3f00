/// The PSK cipher suites that a listener or an upstream connection may use (RFC 4279, 5487, 6655, 7905, 8442).
package enum CipherSuite: UInt16, Sendable, CaseIterable {
    /// The one that every LwM2M device has.
    case pskAES128CCM8 = 0xC0A8
    case pskAES256CCM8 = 0xC0A9
    case pskAES128CCM = 0xC0A4
    case pskAES256CCM = 0xC0A5
    case pskAES128GCM = 0x00A8
    case pskAES256GCM = 0x00A9
    case pskAES128CBC = 0x00AE
    case ecdhePSKChaCha20 = 0xCCAC
    case ecdhePSKAES128CBC = 0xC037
    case ecdhePSKAES128GCM = 0xD001
}
