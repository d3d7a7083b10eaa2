/*
 * A PKCS #11 library that stands before another and does what a broken or hostile one might do.
 *
 * LYING_TOKEN_LIBRARY names the library behind it, LYING_TOKEN_ORDERS a file whose first word is read at each call:
 *
 *   wrong, short, long   C_Sign answers another signature, a shorter one, or a length beyond the buffer
 *   crash, hang          C_Sign ends the process by SIGSEGV, or does not come back
 *   gone                 C_Sign answers CKR_TOKEN_NOT_PRESENT
 *   no-mechanism         C_SignInit answers CKR_MECHANISM_INVALID for what the list says it can
 *
 * Each C_Login adds a line to LYING_TOKEN_LOGINS. cc -shared -fPIC -o lying-token.so lying-token.c -ldl
 */
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long CK_ULONG;
typedef CK_ULONG CK_RV;

/* In the order of CK_FUNCTION_LIST. */
enum { LOGIN = 18, SIGN_INIT = 42, SIGN = 43, FUNCTIONS = 68 };

typedef struct {
  unsigned char version[2];
  void *function[FUNCTIONS];
} FunctionList;

static FunctionList list;
static CK_RV (*real_login)(CK_ULONG, CK_ULONG, void *, CK_ULONG);
static CK_RV (*real_sign_init)(CK_ULONG, void *, CK_ULONG);
static CK_RV (*real_sign)(CK_ULONG, unsigned char *, CK_ULONG, unsigned char *, CK_ULONG *);

static int ordered(const char *word) {
  char line[32] = "";
  FILE *file = fopen(getenv("LYING_TOKEN_ORDERS"), "r");
  if (file == NULL) return 0;
  int found = fscanf(file, "%31s", line) == 1 && strcmp(line, word) == 0;
  fclose(file);
  return found;
}

static CK_RV login(CK_ULONG session, CK_ULONG user, void *pin, CK_ULONG length) {
  FILE *file = fopen(getenv("LYING_TOKEN_LOGINS"), "a");
  CK_RV rv = real_login(session, user, pin, length);
  fprintf(file, "0x%lx\n", rv);
  fclose(file);
  return rv;
}

static CK_RV sign_init(CK_ULONG session, void *mechanism, CK_ULONG key) {
  return ordered("no-mechanism") ? 0x70 : real_sign_init(session, mechanism, key);
}

static CK_RV sign(CK_ULONG session, unsigned char *data, CK_ULONG n, unsigned char *signature, CK_ULONG *length) {
  if (ordered("crash")) raise(SIGSEGV);
  while (ordered("hang")) usleep(10000);
  if (ordered("gone")) return 0xe0;
  CK_RV rv = real_sign(session, data, n, signature, length);
  if (rv != 0) return rv;
  if (ordered("wrong")) signature[*length - 1] ^= 1;
  if (ordered("short")) *length -= 1;
  if (ordered("long")) *length = 1UL << 40;
  return 0;
}

CK_RV C_GetFunctionList(FunctionList **out) {
  void *library = dlopen(getenv("LYING_TOKEN_LIBRARY"), RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) return 5;
  CK_RV (*get)(FunctionList **) = dlsym(library, "C_GetFunctionList");
  FunctionList *real;
  CK_RV rv = get(&real);
  if (rv != 0) return rv;
  list = *real;
  real_login = list.function[LOGIN];
  real_sign_init = list.function[SIGN_INIT];
  real_sign = list.function[SIGN];
  list.function[LOGIN] = login;
  list.function[SIGN_INIT] = sign_init;
  list.function[SIGN] = sign;
  *out = &list;
  return 0;
}
