// SPDX-License-Identifier: Apache-2.0
#include "base/hash.hpp"

#include "base/error.hpp"
#include "support/catch.hpp"

using namespace cdrzoo;

TEST_CASE("SHA-256 of abc is the value of FIPS 180-2") {
  CHECK(sha256_hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(Sha256().update("a").update("bc").hex() == sha256_hex("abc"));
}

TEST_CASE("a number is hashed as eight little-endian bytes") {
  const char bytes[8] = {2, 1, 0, 0, 0, 0, 0, 0};
  CHECK(Sha256().update_le64(0x0102).hex() == Sha256().update(bytes, 8).hex());
}

TEST_CASE("a seed depends on parent and name") {
  CHECK(derive_seed(1, "fold/0") == derive_seed(1, "fold/0"));
  CHECK(derive_seed(1, "fold/0") != derive_seed(1, "fold/1"));
  CHECK(derive_seed(1, "fold/0") != derive_seed(2, "fold/0"));
}

TEST_CASE("a missing file is named in the error") {
  CHECK_THROWS_WITH(sha256_file_hex("/no/such file"), test::contains("/no/such file"));
}
