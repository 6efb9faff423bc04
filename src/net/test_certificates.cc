// SPDX-License-Identifier: Apache-2.0
// Certificates that are made when a test runs cannot expire in the repository, and no private key is stored in it. EC
// keys, since an RSA key takes longer to make than most tests take to run.
#include "net/test_certificates.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/check.h"

namespace sluice::net::test {
namespace {

template <auto kFree>
struct Freer {
  template <typename T>
  void operator()(T* pointer) const {
    kFree(pointer);
  }
};
using Key = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
using Cert = std::unique_ptr<X509, Freer<X509_free>>;
using Bio = std::unique_ptr<BIO, Freer<BIO_free_all>>;

std::string text_of(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(size)};
}

std::string pem_of(X509* certificate) {
  const Bio bio(BIO_new(BIO_s_mem()));
  SLUICE_CHECK(PEM_write_bio_X509(bio.get(), certificate) == 1);
  return text_of(bio.get());
}

std::string pem_of(EVP_PKEY* key) {
  const Bio bio(BIO_new(BIO_s_mem()));
  SLUICE_CHECK(PEM_write_bio_PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) == 1);
  return text_of(bio.get());
}

Key make_key() {
  Key key(EVP_EC_gen("P-256"));
  SLUICE_CHECK(key != nullptr);
  return key;
}

struct Wish {
  const char* common_name;
  long serial;
  long from;
  long until;
};

// A certificate without issuer and signature yet.
Cert make_certificate(const Wish& wish, EVP_PKEY* key) {
  Cert certificate(X509_new());
  X509_set_version(certificate.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), wish.serial);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), wish.from);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), wish.until);
  X509_set_pubkey(certificate.get(), key);
  X509_NAME* subject = X509_get_subject_name(certificate.get());
  const auto* name = reinterpret_cast<const unsigned char*>(wish.common_name);
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, name, -1, -1, 0);
  return certificate;
}

void extend(X509* issuer, X509* certificate, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  SLUICE_CHECK(extension != nullptr);
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

}  // namespace

struct Authority::Impl {
  Key key = make_key();
  Cert certificate;
  mutable long serial = 1;
};

// All authorities have the same name, as those of a cluster before and after its CA was replaced; key identifiers
// distinguish them.
Authority::Authority() : impl_(std::make_unique<Impl>()) {
  impl_->certificate = make_certificate({"test authority", 1, -86400, 86400}, impl_->key.get());
  X509* own = impl_->certificate.get();
  X509_set_issuer_name(own, X509_get_subject_name(own));
  extend(own, own, NID_basic_constraints, "critical,CA:TRUE");
  extend(own, own, NID_subject_key_identifier, "hash");
  SLUICE_CHECK(X509_sign(own, impl_->key.get(), EVP_sha256()) > 0);
}

Authority::~Authority() = default;

std::string Authority::certificate_pem() const {
  return pem_of(impl_->certificate.get());
}

Certificate Authority::issue(const std::string& names, long from, long until) const {
  const Key key = make_key();
  const Cert certificate = make_certificate({"localhost", ++impl_->serial, from, until}, key.get());
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(impl_->certificate.get()));
  extend(impl_->certificate.get(), certificate.get(), NID_authority_key_identifier, "keyid:always");
  if (!names.empty()) extend(impl_->certificate.get(), certificate.get(), NID_subject_alt_name, names);
  SLUICE_CHECK(X509_sign(certificate.get(), impl_->key.get(), EVP_sha256()) > 0);
  return {pem_of(certificate.get()), pem_of(key.get())};
}

}  // namespace sluice::net::test
