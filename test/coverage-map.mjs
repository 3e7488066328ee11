// What has to be covered is lib, by all tests together; not what was built of it, which the tests of the package run.
export default (test) => test.endsWith('.js') ? '.build/lib/**/*.js' : 'lib/**/*.ts'
