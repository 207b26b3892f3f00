/// Certificates for TLS on loopback, made for these tests alone: they protect nothing.
enum Certificates {
    static let root = """
        -----BEGIN CERTIFICATE-----
        MIIBkDCCATWgAwIBAgIUZe5ENMdMpDE4vK153h9q68vuTbYwCgYIKoZIzj0EAwIw
        FDESMBAGA1UEAwwJVGVzdCByb290MCAXDTI2MTEyMTA3MzExMloYDzIxMjYxMDI4
        MDczMTEyWjAUMRIwEAYDVQQDDAlUZXN0IHJvb3QwWTATBgcqhkjOPQIBBggqhkjO
        PQMBBwNCAARnI1mRYdYPQ9i2gBm650PzNroFjzc7BqBgWRBEhnebrp5xKNmyhA+m
        O5RcIB3oc0Wb/ol+XD33BwzRLxPG4K+yo2MwYTAdBgNVHQ4EFgQUI3Lu9/bw3S8H
        SK8CAGLlH4idZYcwHwYDVR0jBBgwFoAUI3Lu9/bw3S8HSK8CAGLlH4idZYcwDwYD
        VR0TAQH/BAUwAwEB/zAOBgNVHQ8BAf8EBAMCAgQwCgYIKoZIzj0EAwIDSQAwRgIh
        AO+0ytx/CF8q6i487cRR0VK9ROwU1Gu4EvSvvh8pd68AAiEAk2QPvrZjnCXZVg95
        cD86lPiz0PXLBSXFmAjmoyXAXYY=
        -----END CERTIFICATE-----

        """

    static let server = """
        -----BEGIN CERTIFICATE-----
        MIIBpjCCAUygAwIBAgIUWVmNG/EbSi/8hAx9fvlB8qFCZA8wCgYIKoZIzj0EAwIw
        FDESMBAGA1UEAwwJVGVzdCByb290MCAXDTI2MTEyMTA3MzExMloYDzIxMjYxMDI4
        MDczMTEyWjARMQ8wDQYDVQQDDAZzZXJ2ZXIwWTATBgcqhkjOPQIBBggqhkjOPQMB
        BwNCAAQddpp5ygEFtP1v9Y8cdGwZQ/wkacnTyySYb67+Eh7WO9/IUKVaZQeFRS7D
        0Qk47q0gXGb/RkgtaMHjk+0+6w5uo30wezAaBgNVHREEEzARhwR/AAABgglsb2Nh
        bGhvc3QwHQYDVR0lBBYwFAYIKwYBBQUHAwEGCCsGAQUFBwMCMB0GA1UdDgQWBBQ7
        mTqv7PwICSRNqTAZGB/6hJ+DRzAfBgNVHSMEGDAWgBQjcu739vDdLwdIrwIAYuUf
        iJ1lhzAKBggqhkjOPQQDAgNIADBFAiEAo3TaG+zq7EVD+MvjhrvIbRTVvycbVCyq
        4n59H7txj3kCIDV9TrNKRyFuenMrUwURkSJEznvu2AA/7f7xJNYN/VaV
        -----END CERTIFICATE-----

        """

    static let serverKey = """
        -----BEGIN PRIVATE KEY-----
        MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgt1t7P1ANom/uxG0X
        exwnLD6vdvGu24dQtQcmBeo6uSahRANCAAQddpp5ygEFtP1v9Y8cdGwZQ/wkacnT
        yySYb67+Eh7WO9/IUKVaZQeFRS7D0Qk47q0gXGb/RkgtaMHjk+0+6w5u
        -----END PRIVATE KEY-----

        """

    static let client = """
        -----BEGIN CERTIFICATE-----
        MIIBpjCCAUygAwIBAgIUWVmNG/EbSi/8hAx9fvlB8qFCZBAwCgYIKoZIzj0EAwIw
        FDESMBAGA1UEAwwJVGVzdCByb290MCAXDTI2MTEyMTA3MzExMloYDzIxMjYxMDI4
        MDczMTEyWjARMQ8wDQYDVQQDDAZjbGllbnQwWTATBgcqhkjOPQIBBggqhkjOPQMB
        BwNCAATlmPFDRuQW7LuueCMpOSXgfoPk0IrRUD5TnMcblj+eQOxjUk/8u93sfath
        u7f2C3uA6wLnlC7Re1u0wId6ycQCo30wezAaBgNVHREEEzARhwR/AAABgglsb2Nh
        bGhvc3QwHQYDVR0lBBYwFAYIKwYBBQUHAwEGCCsGAQUFBwMCMB0GA1UdDgQWBBQW
        NSs9HkNVmfpZ8TScuyKWjplKvDAfBgNVHSMEGDAWgBQjcu739vDdLwdIrwIAYuUf
        iJ1lhzAKBggqhkjOPQQDAgNIADBFAiEA6LMnMtn/jl1FTWbrS31Bobjn+gHzRJge
        X4M7RAQTw4kCICdw1IfN4DEXgPUX6Iq86F4EmQz+wEG6UFvRD3U6CsH7
        -----END CERTIFICATE-----

        """

    static let clientKey = """
        -----BEGIN PRIVATE KEY-----
        MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg7JrVMa6kZ++cjdc7
        UIEjvMzaOxFx3OzjeXIYEgJJA0qhRANCAATlmPFDRuQW7LuueCMpOSXgfoPk0IrR
        UD5TnMcblj+eQOxjUk/8u93sfathu7f2C3uA6wLnlC7Re1u0wId6ycQC
        -----END PRIVATE KEY-----

        """
}
