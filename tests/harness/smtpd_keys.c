/* Preloaded into OpenSMTPD 6.8, as Debian 12 links it with OpenSSL 3: its handshakes find their private key.
 *
 * The process that speaks TLS has only the public key of a certificate. It writes the name of the pki into the RSA of
 * that key (RSA_set_ex_data), and its RSA method sends what is to be signed to the process that has the private key, if
 * it finds a name. With OpenSSL 3 the key of X509_get_pubkey belongs to a provider: EVP_PKEY_get1_RSA gives a copy, the
 * name is written into that, and the method is called with another RSA that has none ("missing private key"). Here
 * the key becomes one that owns its RSA, as it was with OpenSSL 1.1. Only RSA keys are helped.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>

typedef struct evp_pkey_st EVP_PKEY;
typedef struct rsa_st RSA;

EVP_PKEY *EVP_PKEY_new(void);
void EVP_PKEY_free(EVP_PKEY *);
RSA *EVP_PKEY_get1_RSA(EVP_PKEY *);
int EVP_PKEY_set1_RSA(EVP_PKEY *, RSA *);
void RSA_free(RSA *);

EVP_PKEY *X509_get_pubkey(void *certificate)
{
    EVP_PKEY *(*real)(void *) = (EVP_PKEY * (*)(void *)) dlsym(RTLD_NEXT, "X509_get_pubkey");
    EVP_PKEY *found = real(certificate);
    EVP_PKEY *owner;
    RSA *rsa = found == NULL ? NULL : EVP_PKEY_get1_RSA(found);

    if (rsa == NULL)
        return found;
    owner = EVP_PKEY_new();
    if (owner == NULL || !EVP_PKEY_set1_RSA(owner, rsa)) {
        EVP_PKEY_free(owner);
        owner = found;
    } else {
        EVP_PKEY_free(found);
    }
    RSA_free(rsa);
    return owner;
}
